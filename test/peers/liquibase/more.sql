--liquibase formatted sql

--changeset Ümit:größe labels:v2
ALTER TABLE person ADD COLUMN größe numeric;
--rollback ALTER TABLE person DROP COLUMN größe;

--changeset bob:index runInTransaction:false
CREATE INDEX CONCURRENTLY person_name ON person (name);

--changeset bob:function splitStatements:false runAlways:true
CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END $$;
