CREATE TABLE v2 (x int);
