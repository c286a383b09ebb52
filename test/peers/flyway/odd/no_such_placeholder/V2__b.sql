SELECT '${nothing}';
