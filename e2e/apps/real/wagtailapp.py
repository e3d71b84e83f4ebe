"""A Wagtail site with a page or two, made anew in the database file DATABASE."""

import os

from django.conf import settings


class NoMigrations:
    """Makes the tables as the models have them, which is ten times quicker."""

    def __contains__(self, app):
        return True

    def __getitem__(self, app):
        return None


settings.configure(
    SECRET_KEY="x",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF="wagtailurls",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE"]}},
    MIGRATION_MODULES=NoMigrations(),
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    INSTALLED_APPS=[
        "wagtail.contrib.redirects",
        "wagtail.sites",
        "wagtail.users",
        "wagtail.documents",
        "wagtail.images",
        "wagtail.admin",
        "wagtail",
        "taggit",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
        "django.contrib.staticfiles",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "wagtail.contrib.redirects.middleware.RedirectMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "DIRS": [os.path.join(os.path.dirname(os.path.abspath(__file__)), "templates")],
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
    STATIC_URL="/static/",
    USE_TZ=True,
    LANGUAGE_CODE="en",
    WAGTAIL_SITE_NAME="test",
    WAGTAILADMIN_BASE_URL="http://shop.example",
)

from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402

app = get_wsgi_application()


def fill():
    from django.contrib.contenttypes.models import ContentType
    from wagtail.models import Locale, Page, Site

    call_command("migrate", run_syncdb=True, verbosity=0)
    Locale.objects.create(language_code="en")
    kind = ContentType.objects.get_for_model(Page)
    root = Page.add_root(title="Root", slug="root", content_type=kind)
    home = root.add_child(instance=Page(title="A page of Wagtail's", slug="home", content_type=kind))
    home.add_child(instance=Page(title="Below", slug="below", content_type=kind))
    Site.objects.create(hostname="localhost", root_page=home, is_default_site=True, site_name="test")


if __name__ == "__main__":
    fill()
