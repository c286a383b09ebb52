CREATE TABLE v7 (x int);


