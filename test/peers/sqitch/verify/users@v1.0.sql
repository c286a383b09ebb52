SELECT id FROM flipr.users WHERE false;
