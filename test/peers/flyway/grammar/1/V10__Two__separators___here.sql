CREATE TABLE v10 (x int);
