CREATE TABLE flipr.groesse (x int);
