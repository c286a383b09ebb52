SELECT 'b';


