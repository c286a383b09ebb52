CREATE TABLE v0 (x int);
