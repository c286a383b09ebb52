CREATE TABLE v6 (x int);
