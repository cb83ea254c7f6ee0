"""A Celery application whose task says which process ran it."""
import os

from celery import Celery

app = Celery("tasks", broker="redis://127.0.0.1:6379/0", backend="redis://127.0.0.1:6379/0")
app.conf.imports = ["forksafe.containers.celery"]  # all that forksafe needs, and the ini:
app.conf.forksafe_ini = "production.ini"


@app.task
def who():
    return os.getpid()
