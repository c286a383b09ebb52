CREATE TABLE v2_0_1 (x int);
