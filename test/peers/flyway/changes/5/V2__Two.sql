CREATE TABLE v2 (x bigint);


