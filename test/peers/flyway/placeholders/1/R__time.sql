SELECT '${flyway:defaultSchema}/${flyway:user}/${flyway:filename}';
