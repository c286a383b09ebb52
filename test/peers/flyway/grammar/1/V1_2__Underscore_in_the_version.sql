CREATE TABLE v1_2 (x int);
