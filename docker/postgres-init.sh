#!/usr/bin/env bash
# Runs once, on an empty data folder: one role and one database for each service.
set -euo pipefail
psql --username postgres --set ON_ERROR_STOP=1 \
    --set dagster_password="$DAGSTER_PG_PASSWORD" --set mlflow_password="$MLFLOW_PG_PASSWORD" <<'SQL'
CREATE ROLE dagster LOGIN PASSWORD :'dagster_password';
CREATE DATABASE dagster OWNER dagster;
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow_password';
CREATE DATABASE mlflow OWNER mlflow;
SQL
