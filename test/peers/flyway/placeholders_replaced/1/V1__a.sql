CREATE TABLE IF NOT EXISTS said (number int, what text);
INSERT INTO said VALUES (1, '${x}'), (2, '$${x}'), (3, '$x {x} $ {x}'), (4, '${X}'), (5, '${flyway:filename} ${flyway:defaultSchema} ${FLYWAY:USER}'), (6, '}${x}${x}{');
-- ${x}
INSERT INTO said VALUES (8, $$${x}$$), (9, '\${x}');
