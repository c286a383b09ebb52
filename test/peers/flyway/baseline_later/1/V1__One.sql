CREATE TABLE v1 (x int);
