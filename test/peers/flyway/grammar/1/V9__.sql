CREATE TABLE v9 (x int);
