CREATE TABLE said (number int, what text);
INSERT INTO said VALUES (1, '${ x }');
