"""Where Piccolo finds the database and the tables; also read by its command line (`piccolo migrations new`)."""

from piccolo.conf.apps import AppRegistry

from app.settings import from_process
from app.storage import postgres

DB = postgres.ENGINE
APP_REGISTRY = AppRegistry(apps=["piccolo_app"])

if not DB.config and (settings := from_process()).database_url:
    postgres.engine(settings)
