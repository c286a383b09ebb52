CREATE TABLE v1 (x int);
CREATE TABLE v2 (x int);
CREATE TABLE v3 (x int);
