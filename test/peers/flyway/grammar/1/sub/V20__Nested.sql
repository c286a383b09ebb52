CREATE TABLE v20 (x int);
