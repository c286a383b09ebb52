CREATE TABLE v2_1 (x int);
