from django.contrib import admin
from django.urls import path
from django.views.static import serve
from guestbook import views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", views.index),
    path("upload", views.upload),
    path("stream", views.stream),
    # One file, for the example; with the admin's there are more: hostler --static (README.md).
    path("static/<path:path>", serve, {"document_root": views.STATIC}),
]
