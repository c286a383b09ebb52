DROP TABLE flipr.groesse;
