-- a comment
CREATE TABLE v2 (x int,
  y text);

INSERT INTO v2 VALUES (1, 'two
lines');

