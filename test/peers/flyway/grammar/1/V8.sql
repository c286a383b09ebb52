CREATE TABLE v8 (x int);
