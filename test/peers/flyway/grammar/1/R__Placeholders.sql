CREATE OR REPLACE VIEW ${prefix}_view AS SELECT '${prefix}'::text AS x;
