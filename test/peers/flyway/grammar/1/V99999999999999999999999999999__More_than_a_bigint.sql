CREATE TABLE v_big (x int);
