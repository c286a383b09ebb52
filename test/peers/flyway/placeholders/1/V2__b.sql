SELECT '${not_replaced}';
