CREATE TABLE v1_9 (x int);


