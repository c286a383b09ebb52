CREATE TABLE v3 (x int);
