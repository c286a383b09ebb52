SELECT wrong;
