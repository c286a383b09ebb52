SELECT '${X}';
