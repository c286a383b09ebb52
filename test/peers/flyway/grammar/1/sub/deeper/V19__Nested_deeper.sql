CREATE TABLE v19 (x int);
