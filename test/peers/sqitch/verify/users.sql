SELECT name FROM flipr.users WHERE false;
