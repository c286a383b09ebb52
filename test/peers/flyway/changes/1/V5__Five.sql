CREATE TABLE v5 (x int);
