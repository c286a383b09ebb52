SELECT '${flyway:table}';
