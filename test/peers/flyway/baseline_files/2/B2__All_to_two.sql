CREATE TABLE v1 (x int);
CREATE TABLE v2 (x int);
