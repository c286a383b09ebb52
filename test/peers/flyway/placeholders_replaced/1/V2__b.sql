INSERT INTO said VALUES (20, '${x}');
