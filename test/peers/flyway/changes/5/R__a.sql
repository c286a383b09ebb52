SELECT 'changed';


