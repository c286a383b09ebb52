CREATE TABLE v1_1 (x int);
