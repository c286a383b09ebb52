CREATE TABLE ${prefix}_v5 (x int); -- ${prefix} in a comment
INSERT INTO users VALUES (5, '${flyway:defaultSchema} ${flyway:filename}');
