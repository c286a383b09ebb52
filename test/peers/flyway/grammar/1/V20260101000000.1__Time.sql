CREATE TABLE v_time (x int);
