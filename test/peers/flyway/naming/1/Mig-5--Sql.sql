CREATE TABLE m5 (x int);
