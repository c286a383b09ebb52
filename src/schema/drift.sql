-- What was changed outside of migrations. docs/migrations.md explains it.

-- What the schema looked like when the migrations of a project were last applied.
CREATE TABLE dbops.migration_schema (
  project_id integer NOT NULL REFERENCES dbops.migration_project ON DELETE CASCADE,
  kind text NOT NULL,
  identity text NOT NULL,
  definition text NOT NULL,
  PRIMARY KEY (project_id, kind, identity)
);
COMMENT ON TABLE dbops.migration_schema IS 'The schema as the migrations have left it, object by object. Read it through dbops.migration_schemas.';
REVOKE ALL ON dbops.migration_schema FROM PUBLIC;

CREATE VIEW dbops.migration_schemas WITH (security_barrier) AS
  SELECT p.name AS project, s.kind, s.identity, s.definition
  FROM dbops.migration_schema s JOIN dbops.migration_project p USING (project_id) WHERE dbops.may_see(p.owner_oid);
COMMENT ON VIEW dbops.migration_schemas IS 'The schema as the migrations of a project have left it: one row an object.';
GRANT SELECT ON dbops.migration_schemas TO PUBLIC;

-- What is not an extension's: objects of schemas of users, and those without a schema. Nothing of it depends on OIDs or on
-- settings of the session, and little on the major version; constants are written out as pg_dump does.
CREATE FUNCTION dbops.schema_definition() RETURNS TABLE (kind text, identity text, definition text)
  LANGUAGE sql STABLE
  SET search_path = pg_catalog, pg_temp
  SET "TimeZone" = 'UTC' SET "DateStyle" = 'ISO, YMD' SET "IntervalStyle" = 'postgres' SET extra_float_digits = 1
  SET bytea_output = 'hex' SET standard_conforming_strings = on SET lc_monetary = 'C' SET quote_all_identifiers = off
  AS $$
    WITH of_extensions AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e'),
    ours AS (
      SELECT n.* FROM pg_namespace n
      WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'dbops')
        AND NOT EXISTS (SELECT FROM of_extensions e WHERE e.classid = 'pg_namespace'::regclass AND e.objid = n.oid)),
    relation AS (
      SELECT c.*, format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c JOIN ours n ON n.oid = c.relnamespace
      WHERE NOT EXISTS (SELECT FROM of_extensions e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid
                          OR e.classid = 'pg_type'::regclass AND e.objid = c.reltype)),
    -- Owner and privileges where there are some; acl_type as acldefault() wants it.
    object(kind, identity, class, id, sub, owner, acl, acl_type, options, definition) AS (
      SELECT 'schema', quote_ident(nspname), 'pg_namespace'::regclass::oid, oid, 0, nspowner, nspacl, 'n'::"char", NULL::text[], NULL::text FROM ours
      UNION ALL
      SELECT CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence' WHEN 'f' THEN 'foreign table' ELSE 'table' END, c.name,
             'pg_class'::regclass, c.oid, 0, c.relowner, c.relacl, CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", f.ftoptions,
             concat_ws(' ', CASE WHEN c.relpersistence = 'u' THEN 'unlogged' END, CASE WHEN c.relrowsecurity THEN 'row security' END,
               CASE WHEN c.relforcerowsecurity THEN 'forced' END, (SELECT array_agg(o ORDER BY o COLLATE "C") FROM unnest(c.reloptions) o),
               (SELECT 'toast ' || array_agg(o ORDER BY o COLLATE "C")::text FROM pg_class t, unnest(t.reloptions) o WHERE t.oid = c.reltoastrelid),
               'of type ' || nullif(c.reloftype, 0)::regtype, (SELECT 'using ' || quote_ident(amname) FROM pg_am WHERE oid = c.relam AND amname <> 'heap'),
               (SELECT 'tablespace ' || quote_ident(spcname) FROM pg_tablespace WHERE oid = c.reltablespace),
               CASE WHEN c.relkind = 'p' THEN 'partition by ' || pg_get_partkeydef(c.oid) END,
               (SELECT 'of ' || string_agg(concat_ws(' ', inhparent::regclass, CASE WHEN inhdetachpending THEN 'detach pending' END), ', ' ORDER BY inhseqno) FROM pg_inherits WHERE inhrelid = c.oid),
               pg_get_expr(c.relpartbound, c.oid), CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END,
               CASE WHEN c.relreplident <> 'd' THEN 'replica identity ' || c.relreplident::text END, 'server ' || quote_ident(s.srvname),
               (SELECT concat_ws(' ', format_type(seqtypid, NULL), 'start', seqstart, 'increment', seqincrement, seqmin, seqmax, 'cache', seqcache, CASE WHEN seqcycle THEN 'cycle' END)
                FROM pg_sequence WHERE seqrelid = c.oid),
               (SELECT 'owned by ' || (pg_identify_object(d.refclassid, d.refobjid, d.refobjsubid)).identity FROM pg_depend d
                WHERE c.relkind = 'S' AND d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')))
      FROM relation c LEFT JOIN pg_foreign_table f ON f.ftrelid = c.oid LEFT JOIN pg_foreign_server s ON s.oid = f.ftserver
      WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
      UNION ALL
      SELECT 'type', c.name, 'pg_type'::regclass, t.oid, 0, c.relowner, t.typacl, 'T', NULL, 'composite' FROM relation c JOIN pg_type t ON t.oid = c.reltype WHERE c.relkind = 'c'
      UNION ALL
      -- Columns of views follow from their queries; here is what was said about them beside that.
      SELECT 'column', r.name || '.' || quote_ident(a.attname), 'pg_class'::regclass, r.oid, a.attnum, NULL, a.attacl, 'c', a.attfdwoptions,
             concat_ws(' ', format_type(a.atttypid, a.atttypmod), CASE WHEN a.attcollation <> 0 AND a.attcollation <> t.typcollation THEN 'collate ' || a.attcollation::regcollation END,
               CASE WHEN a.attnotnull THEN 'not null' END, CASE a.attgenerated WHEN 's' THEN 'generated' WHEN 'v' THEN 'generated virtual' ELSE CASE WHEN d.oid IS NOT NULL THEN 'default' END END,
               pg_get_expr(d.adbin, d.adrelid), CASE a.attidentity WHEN 'a' THEN 'identity always' WHEN 'd' THEN 'identity by default' END,
               CASE WHEN a.attstorage <> t.typstorage THEN 'storage ' || a.attstorage::text END, 'compression ' || nullif(a.attcompression::text, ''),
               CASE WHEN a.attstattarget >= 0 AND r.relkind NOT IN ('v', 'c') THEN 'statistics ' || a.attstattarget END,
               -- without what the server notes there for itself (pg_attver)
               (SELECT array_agg(o ORDER BY o COLLATE "C") FROM unnest(a.attoptions) o WHERE o !~ '^pg_'))
      FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped JOIN pg_type t ON t.oid = a.atttypid
      LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
      WHERE r.relkind IN ('r', 'p', 'f', 'c') OR r.relkind IN ('v', 'm') AND (d.oid IS NOT NULL OR a.attacl IS NOT NULL OR EXISTS (SELECT FROM unnest(a.attoptions) o WHERE o !~ '^pg_') OR r.relkind = 'm' AND a.attstattarget >= 0
        OR EXISTS (SELECT FROM pg_description s WHERE s.objoid = r.oid AND s.classoid = 'pg_class'::regclass AND s.objsubid = a.attnum))
      UNION ALL
      SELECT 'index', r.name, 'pg_class'::regclass, r.oid, 0, NULL, NULL, NULL, NULL,
             concat_ws(' ', pg_get_indexdef(r.oid), CASE WHEN NOT i.indisvalid THEN 'INVALID' END, CASE WHEN i.indisreplident THEN 'replica identity' END, CASE WHEN i.indisclustered THEN 'clustered' END,
               (SELECT 'tablespace ' || quote_ident(spcname) FROM pg_tablespace WHERE oid = r.reltablespace), (SELECT 'of ' || inhparent::regclass FROM pg_inherits WHERE inhrelid = r.oid),
               (SELECT string_agg(format('statistics of %s %s', attnum, attstattarget), ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = r.oid AND attstattarget >= 0))
      FROM relation r JOIN pg_index i ON i.indexrelid = r.oid JOIN relation t ON t.oid = i.indrelid -- no index is a member of an extension by itself
      UNION ALL
      -- From 18 on NOT NULL is a constraint as well; the column says it.
      SELECT 'constraint', coalesce(r.name, k.contypid::regtype::text) || '.' || quote_ident(k.conname), 'pg_constraint'::regclass, k.oid, 0, NULL, NULL, NULL, NULL, pg_get_constraintdef(k.oid)
      FROM pg_constraint k LEFT JOIN relation r ON r.oid = k.conrelid
      WHERE k.contype <> 't' AND (k.contype <> 'n' OR NOT k.convalidated OR k.connoinherit)
        AND (r.oid IS NOT NULL OR k.contypid <> 0 AND k.connamespace IN (SELECT oid FROM ours)
             AND NOT EXISTS (SELECT FROM of_extensions e WHERE e.classid = 'pg_type'::regclass AND e.objid = k.contypid))
      UNION ALL
      SELECT 'trigger', r.name || '.' || quote_ident(g.tgname), 'pg_trigger'::regclass, g.oid, 0, NULL, NULL, NULL, NULL, concat_ws(' ', pg_get_triggerdef(g.oid), 'enabled', g.tgenabled)
      FROM relation r JOIN pg_trigger g ON g.tgrelid = r.oid AND NOT g.tgisinternal
      UNION ALL
      SELECT 'policy', r.name || '.' || quote_ident(p.polname), 'pg_policy'::regclass, p.oid, 0, NULL, NULL, NULL, NULL,
             concat_ws(' ', p.polcmd, p.polpermissive, (SELECT array_agg(coalesce(m.rolname, 'public') ORDER BY m.rolname) FROM unnest(p.polroles) o LEFT JOIN pg_roles m ON m.oid = o),
               pg_get_expr(p.polqual, p.polrelid), 'check', pg_get_expr(p.polwithcheck, p.polrelid))
      FROM relation r JOIN pg_policy p ON p.polrelid = r.oid
      UNION ALL
      SELECT 'rule', r.name || '.' || quote_ident(w.rulename), 'pg_rewrite'::regclass, w.oid, 0, NULL, NULL, NULL, NULL, concat_ws(' ', pg_get_ruledef(w.oid), 'enabled', w.ev_enabled)
      FROM relation r JOIN pg_rewrite w ON w.ev_class = r.oid AND w.rulename <> '_RETURN'
      UNION ALL
      SELECT 'statistics', format('%I.%I', n.nspname, s.stxname), 'pg_statistic_ext'::regclass, s.oid, 0, s.stxowner, NULL, NULL, NULL,
             concat_ws(' ', pg_get_statisticsobjdef(s.oid), CASE WHEN s.stxstattarget >= 0 THEN 'statistics ' || s.stxstattarget END)
      FROM pg_statistic_ext s JOIN ours n ON n.oid = s.stxnamespace
      UNION ALL
      -- without those that a type has made for itself
      SELECT CASE f.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END, f.oid::regprocedure::text, 'pg_proc'::regclass, f.oid, 0, f.proowner, f.proacl, 'f', NULL,
             CASE WHEN a.aggfnoid IS NULL THEN pg_get_functiondef(f.oid)
               ELSE concat_ws(' ', pg_get_function_result(f.oid), a.aggkind, a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn,
                 a.aggfinalextra, a.aggmfinalextra, a.aggfinalmodify, a.aggmfinalmodify, nullif(a.aggsortop, 0)::regoperator, a.aggtranstype::regtype, a.aggtransspace,
                 'moving', nullif(a.aggmtranstype, 0)::regtype, a.aggmtransspace, 'initial', quote_literal(a.agginitval), quote_literal(a.aggminitval), 'parallel', f.proparallel) END
      FROM pg_proc f JOIN ours n ON n.oid = f.pronamespace LEFT JOIN pg_aggregate a ON a.aggfnoid = f.oid
      WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = f.oid AND d.refclassid = 'pg_type'::regclass AND d.deptype = 'i')
      UNION ALL
      SELECT CASE t.typtype WHEN 'd' THEN 'domain' ELSE 'type' END, t.oid::regtype::text, 'pg_type'::regclass, t.oid, 0, t.typowner, t.typacl, 'T', NULL,
             CASE t.typtype
               WHEN 'd' THEN concat_ws(' ', format_type(t.typbasetype, t.typtypmod), CASE WHEN t.typcollation <> b.typcollation THEN 'collate ' || t.typcollation::regcollation END,
                 CASE WHEN t.typnotnull THEN 'not null' END, 'default ' || coalesce(pg_get_expr(t.typdefaultbin, 0), t.typdefault))
               WHEN 'e' THEN (SELECT array_agg(e.enumlabel ORDER BY e.enumsortorder)::text FROM pg_enum e WHERE e.enumtypid = t.oid)
               WHEN 'r' THEN (SELECT concat_ws(' ', 'range of', format_type(g.rngsubtype, NULL), 'multirange', g.rngmultitypid::regtype, (pg_identify_object('pg_opclass'::regclass, g.rngsubopc, 0)).identity,
                   'collate ' || nullif(g.rngcollation, 0)::regcollation, g.rngcanonical, g.rngsubdiff) FROM pg_range g WHERE g.rngtypid = t.oid)
               WHEN 'p' THEN 'shell'
               ELSE concat_ws(' ', t.typinput, t.typoutput, t.typreceive, t.typsend, t.typmodin, t.typmodout, t.typanalyze, t.typsubscript, t.typlen, t.typbyval, t.typalign, t.typstorage,
                 t.typcategory, t.typispreferred, t.typdelim, 'of ' || nullif(t.typelem, 0)::regtype, CASE WHEN t.typcollation <> 0 THEN 'collatable' END, 'default ' || t.typdefault) END
      FROM pg_type t JOIN ours n ON n.oid = t.typnamespace LEFT JOIN pg_type b ON b.oid = t.typbasetype
      WHERE t.typtype IN ('d', 'e', 'r') OR t.typtype = 'p' AND NOT t.typisdefined OR t.typtype = 'b' AND NOT EXISTS (SELECT FROM pg_type e WHERE e.oid = t.typelem AND e.typarray = t.oid)
      UNION ALL
      SELECT 'collation', format('%I.%I', n.nspname, c.collname), 'pg_collation'::regclass, c.oid, 0, c.collowner, NULL, NULL, NULL,
             concat_ws(' ', c.collprovider, CASE WHEN NOT c.collisdeterministic THEN 'nondeterministic' END, c.collcollate, c.collctype,
               coalesce(to_jsonb(c) ->> 'colllocale', to_jsonb(c) ->> 'colliculocale'), 'rules ' || quote_literal(to_jsonb(c) ->> 'collicurules'))
      FROM pg_collation c JOIN ours n ON n.oid = c.collnamespace
      UNION ALL
      SELECT 'conversion', format('%I.%I', n.nspname, c.conname), 'pg_conversion'::regclass, c.oid, 0, c.conowner, NULL, NULL, NULL,
             concat_ws(' ', pg_encoding_to_char(c.conforencoding), 'to', pg_encoding_to_char(c.contoencoding), c.conproc, CASE WHEN c.condefault THEN 'default' END)
      FROM pg_conversion c JOIN ours n ON n.oid = c.connamespace
      UNION ALL
      SELECT 'operator', o.oid::regoperator::text, 'pg_operator'::regclass, o.oid, 0, o.oprowner, NULL, NULL, NULL,
             concat_ws(' ', o.oprresult::regtype, o.oprcode, 'commutator', nullif(o.oprcom, 0)::regoperator, 'negator', nullif(o.oprnegate, 0)::regoperator, 'restrict', o.oprrest, 'join', o.oprjoin,
               CASE WHEN o.oprcanmerge THEN 'merges' END, CASE WHEN o.oprcanhash THEN 'hashes' END)
      FROM pg_operator o JOIN ours n ON n.oid = o.oprnamespace
      UNION ALL
      SELECT 'operator class', (pg_identify_object('pg_opclass'::regclass, c.oid, 0)).identity, 'pg_opclass'::regclass, c.oid, 0, c.opcowner, NULL, NULL, NULL,
             concat_ws(' ', CASE WHEN c.opcdefault THEN 'default' END, 'for', c.opcintype::regtype, 'family', (pg_identify_object('pg_opfamily'::regclass, c.opcfamily, 0)).identity, 'storage ' || nullif(c.opckeytype, 0)::regtype)
      FROM pg_opclass c JOIN ours n ON n.oid = c.opcnamespace
      UNION ALL
      SELECT 'operator family', (pg_identify_object('pg_opfamily'::regclass, f.oid, 0)).identity, 'pg_opfamily'::regclass, f.oid, 0, f.opfowner, NULL, NULL, NULL,
             concat_ws(' ', (SELECT string_agg(concat_ws(' ', 'operator', o.amopstrategy, o.amopopr::regoperator, (SELECT 'order by ' || (pg_identify_object('pg_opfamily'::regclass, o.amopsortfamily, 0)).identity WHERE o.amopsortfamily <> 0)), ', '
                 ORDER BY o.amopstrategy, o.amopopr::regoperator::text COLLATE "C") FROM pg_amop o WHERE o.amopfamily = f.oid),
               (SELECT string_agg(format('function %s (%s, %s) %s', p.amprocnum, p.amproclefttype::regtype, p.amprocrighttype::regtype, p.amproc::regprocedure), ', '
                 ORDER BY p.amprocnum, p.amproclefttype::regtype::text COLLATE "C", p.amprocrighttype::regtype::text COLLATE "C") FROM pg_amproc p WHERE p.amprocfamily = f.oid))
      FROM pg_opfamily f JOIN ours n ON n.oid = f.opfnamespace
      UNION ALL
      SELECT 'text search configuration', format('%I.%I', n.nspname, c.cfgname), 'pg_ts_config'::regclass, c.oid, 0, c.cfgowner, NULL, NULL, NULL,
             concat_ws(' ', 'parser', (pg_identify_object('pg_ts_parser'::regclass, c.cfgparser, 0)).identity,
               (SELECT string_agg(m.maptokentype || ' ' || m.mapdict::regdictionary, ', ' ORDER BY m.maptokentype, m.mapseqno) FROM pg_ts_config_map m WHERE m.mapcfg = c.oid))
      FROM pg_ts_config c JOIN ours n ON n.oid = c.cfgnamespace
      UNION ALL
      SELECT 'text search dictionary', format('%I.%I', n.nspname, d.dictname), 'pg_ts_dict'::regclass, d.oid, 0, d.dictowner, NULL, NULL, NULL,
             concat_ws(' ', 'template', (pg_identify_object('pg_ts_template'::regclass, d.dicttemplate, 0)).identity, d.dictinitoption)
      FROM pg_ts_dict d JOIN ours n ON n.oid = d.dictnamespace
      UNION ALL
      SELECT 'text search parser', format('%I.%I', n.nspname, p.prsname), 'pg_ts_parser'::regclass, p.oid, 0, NULL, NULL, NULL, NULL,
             concat_ws(' ', p.prsstart, p.prstoken, p.prsend, p.prsheadline, p.prslextype)
      FROM pg_ts_parser p JOIN ours n ON n.oid = p.prsnamespace
      UNION ALL
      SELECT 'text search template', format('%I.%I', n.nspname, t.tmplname), 'pg_ts_template'::regclass, t.oid, 0, NULL, NULL, NULL, NULL, concat_ws(' ', t.tmplinit, t.tmpllexize)
      FROM pg_ts_template t JOIN ours n ON n.oid = t.tmplnamespace
      UNION ALL
      -- Below: objects without a schema. 16384 is the first OID of an object that initdb has not made (transam.h, FirstNormalObjectId).
      SELECT 'cast', (pg_identify_object('pg_cast'::regclass, c.oid, 0)).identity, 'pg_cast'::regclass, c.oid, 0, NULL, NULL, NULL, NULL,
             concat_ws(' ', c.castmethod, c.castcontext, nullif(c.castfunc, 0)::regprocedure)
      FROM pg_cast c WHERE c.oid >= 16384
      UNION ALL
      SELECT 'transform', (pg_identify_object('pg_transform'::regclass, t.oid, 0)).identity, 'pg_transform'::regclass, t.oid, 0, NULL, NULL, NULL, NULL, concat_ws(' ', t.trffromsql, t.trftosql)
      FROM pg_transform t
      UNION ALL
      SELECT 'language', quote_ident(l.lanname), 'pg_language'::regclass, l.oid, 0, l.lanowner, l.lanacl, 'l', NULL,
             concat_ws(' ', CASE WHEN l.lanpltrusted THEN 'trusted' END, l.lanplcallfoid::regproc, l.laninline::regproc, l.lanvalidator::regproc)
      FROM pg_language l WHERE l.oid >= 16384
      UNION ALL
      SELECT 'access method', quote_ident(a.amname), 'pg_am'::regclass, a.oid, 0, NULL, NULL, NULL, NULL, concat_ws(' ', a.amtype, a.amhandler) FROM pg_am a WHERE a.oid >= 16384
      UNION ALL
      SELECT 'foreign data wrapper', quote_ident(f.fdwname), 'pg_foreign_data_wrapper'::regclass, f.oid, 0, f.fdwowner, f.fdwacl, 'F', f.fdwoptions,
             concat_ws(' ', 'handler', f.fdwhandler::regproc, 'validator', f.fdwvalidator::regproc) FROM pg_foreign_data_wrapper f
      UNION ALL
      SELECT 'foreign server', quote_ident(s.srvname), 'pg_foreign_server'::regclass, s.oid, 0, s.srvowner, s.srvacl, 'S', s.srvoptions,
             concat_ws(' ', 'wrapper', quote_ident(f.fdwname), 'type ' || quote_literal(s.srvtype), 'version ' || quote_literal(s.srvversion))
      FROM pg_foreign_server s JOIN pg_foreign_data_wrapper f ON f.oid = s.srvfdw
      UNION ALL
      -- Their options are for passwords.
      SELECT 'user mapping', format('%s on %I', CASE WHEN u.umuser = 0 THEN 'public' ELSE quote_ident(u.usename) END, u.srvname), 'pg_user_mapping'::regclass, u.umid, 0, NULL, NULL, NULL, NULL, NULL
      FROM pg_user_mappings u
      UNION ALL
      SELECT 'event trigger', quote_ident(t.evtname), 'pg_event_trigger'::regclass, t.oid, 0, t.evtowner, NULL, NULL, NULL,
             concat_ws(' ', t.evtevent, t.evttags, t.evtfoid::regprocedure, 'enabled', t.evtenabled) FROM pg_event_trigger t
      UNION ALL
      SELECT 'publication', quote_ident(p.pubname), 'pg_publication'::regclass, p.oid, 0, p.pubowner, NULL, NULL, NULL,
             concat_ws(' ', CASE WHEN p.puballtables THEN 'all tables' END, CASE WHEN p.pubinsert THEN 'insert' END, CASE WHEN p.pubupdate THEN 'update' END, CASE WHEN p.pubdelete THEN 'delete' END,
               CASE WHEN p.pubtruncate THEN 'truncate' END, CASE WHEN p.pubviaroot THEN 'via partition root' END, 'generated columns ' || nullif(to_jsonb(p) ->> 'pubgencols', 'n'))
      FROM pg_publication p
      UNION ALL
      SELECT 'publication table', format('%s in %I', r.prrelid::regclass, p.pubname), 'pg_publication_rel'::regclass, r.oid, 0, NULL, NULL, NULL, NULL,
             concat_ws(' ', (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = r.prrelid AND a.attnum = ANY (r.prattrs)),
               'where ' || pg_get_expr(r.prqual, r.prrelid))
      FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
      UNION ALL
      SELECT 'publication schema', format('%s in %I', s.pnnspid::regnamespace, p.pubname), 'pg_publication_namespace'::regclass, s.oid, 0, NULL, NULL, NULL, NULL, NULL
      FROM pg_publication_namespace s JOIN pg_publication p ON p.oid = s.pnpubid
      UNION ALL
      -- without how to connect, and without what the server or an operator switches while it runs
      SELECT 'subscription', quote_ident(s.subname), 'pg_subscription'::regclass, s.oid, 0, s.subowner, NULL, NULL, NULL,
             concat_ws(' ', 'to', s.subpublications, 'slot ' || quote_ident(s.subslotname), 'synchronous_commit', s.subsynccommit, CASE WHEN s.subbinary THEN 'binary' END, 'streaming', s.substream,
               CASE WHEN s.subdisableonerr THEN 'disable on error' END)
      FROM pg_subscription s WHERE s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
      UNION ALL
      SELECT 'default privileges', (pg_identify_object('pg_default_acl'::regclass, d.oid, 0)).identity, 'pg_default_acl'::regclass, d.oid, 0, NULL, NULL, NULL, NULL,
             (SELECT string_agg(x::text, ' ' ORDER BY x::text COLLATE "C") FROM unnest(d.defaclacl) x) FROM pg_default_acl d
      UNION ALL
      SELECT 'extension', quote_ident(e.extname), NULL, NULL, NULL, NULL, NULL, NULL, NULL, format('version %s in %s', e.extversion, e.extnamespace::regnamespace) FROM pg_extension e WHERE e.extname <> 'dbops')
    SELECT o.kind, o.identity,
           concat_ws(' ', 'owner ' || o.owner::regrole, o.definition,
             -- Secrets stay out.
             (SELECT 'options (' || string_agg(CASE WHEN split_part(x, '=', 1) ~* 'pass|secret|token|key|cred' THEN split_part(x, '=', 1) ELSE regexp_replace(x, '//[^/@]*@', '//@') END, ', ' ORDER BY x COLLATE "C") || ')'
              FROM unnest(o.options) x),
             -- What was granted beyond the default, and what was revoked of it: so that NULL is the default written out.
             CASE WHEN o.acl IS NOT NULL THEN
               (SELECT string_agg(p, ' ' ORDER BY p COLLATE "C") FROM (
                  (SELECT '+' || x FROM unnest(o.acl) x EXCEPT SELECT '+' || x FROM unnest(acldefault(o.acl_type, o.owner)) x)
                  UNION ALL
                  (SELECT '-' || x FROM unnest(acldefault(o.acl_type, o.owner)) x EXCEPT SELECT '-' || x FROM unnest(o.acl) x)) q(p)) END,
             'comment ' || quote_literal(c.description),
             (SELECT string_agg(format('label of %s %L', l.provider, l.label), ' ' ORDER BY l.provider) FROM pg_seclabel l WHERE l.objoid = o.id AND l.classoid = o.class AND l.objsubid = o.sub))
    FROM object o LEFT JOIN pg_description c ON c.objoid = o.id AND c.classoid = o.class AND c.objsubid = o.sub
    WHERE NOT EXISTS (SELECT FROM of_extensions e WHERE e.classid = o.class AND e.objid = o.id)
  $$;
COMMENT ON FUNCTION dbops.schema_definition() IS
  'The schema of this database by its catalog, one row an object: tables, columns, indexes, constraints, views, functions, triggers, policies, types, operators, casts, publications, foreign servers, default privileges, ... with owners, privileges and comments, without what extensions have made. Options of user mappings, and others that may be secret, are left out.';

CREATE FUNCTION dbops.diff(project text DEFAULT 'default') RETURNS TABLE (change text, kind text, identity text, recorded text, live text)
  LANGUAGE sql STABLE
  BEGIN ATOMIC
    SELECT CASE WHEN r.kind IS NULL THEN 'added' WHEN l.kind IS NULL THEN 'removed' ELSE 'changed' END,
           coalesce(l.kind, r.kind), coalesce(l.identity, r.identity), r.definition, l.definition
    FROM (SELECT s.kind, s.identity, s.definition FROM dbops.migration_schemas s WHERE s.project = diff.project) r
    FULL JOIN dbops.schema_definition() l ON l.kind = r.kind AND l.identity = r.identity
    WHERE r.definition IS DISTINCT FROM l.definition AND EXISTS (SELECT FROM dbops.migration_schemas s WHERE s.project = diff.project)
    ORDER BY 2, 3;
  END;
COMMENT ON FUNCTION dbops.diff(text) IS
  'What is different in the schema from what the migrations of a project have left: added, removed or changed outside of them, with both definitions. Nothing when it was never recorded (dbops.record_schema).';

CREATE FUNCTION dbops.record_schema(project text DEFAULT 'default', drift jsonb DEFAULT '[]') RETURNS bigint
  AS 'MODULE_PATHNAME', 'dbops_record_schema' LANGUAGE C STRICT;
COMMENT ON FUNCTION dbops.record_schema(text, jsonb) IS
  'Record the schema as what the migrations of a project have left; dbops migrate does it after it has applied some. drift: rows of dbops.diff from before they were applied; what is still as it was then stays different. Returns how many objects. Needs membership in the project''s role.';
