SELECT 'changed';
