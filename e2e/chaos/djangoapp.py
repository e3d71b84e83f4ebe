

# The same pages by Django, which sees no body where there is no length.
import django.conf
import django.core.wsgi
import django.http
import django.urls

django.conf.settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], DATA_UPLOAD_MAX_MEMORY_SIZE=None, SECRET_KEY="chaos")


def any_page(request, page):
    extra = PAGES["/" + page](float(request.GET.get("n", 0)), request.body) or b""
    head = ("%s %d %s\n" % (request.GET.get("id"), os.getpid(), VERSION)).encode()
    return django.http.HttpResponse([head, extra], content_type="text/plain")


urlpatterns = [django.urls.path("<page>", any_page)]
application = django.core.wsgi.get_wsgi_application()
