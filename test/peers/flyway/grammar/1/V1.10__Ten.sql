

  CREATE TABLE v1_10 (x int);  
	
   
