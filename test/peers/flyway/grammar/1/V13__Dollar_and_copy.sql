CREATE FUNCTION f13() RETURNS int LANGUAGE plpgsql AS $body$
BEGIN
  -- a ; here
  RETURN 13;
END $body$;
CREATE TABLE v13 (x int, y text);
COPY v13 FROM STDIN;
1	a;b
2	\N
\.
INSERT INTO v13 VALUES (3, E'\'');
