CREATE TABLE v4 (x int);
