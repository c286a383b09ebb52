INSERT INTO said VALUES (30, '${x}${flyway:filename}');
